"""Finding faces, restoring them with any method and putting them back."""

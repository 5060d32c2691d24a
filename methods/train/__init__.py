"""Training of every network the package ships or uses."""

"""The five methods and what they need, independent of any host."""

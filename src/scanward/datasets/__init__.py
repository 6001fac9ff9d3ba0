"""The real images that models are trained and tested on, and what files go through on their way."""

"""Studies as folders: received, worked on, done with."""

"""Who did what, as JSON lines and as DICOM audit messages."""

"""Where the breast, its pectoral muscle and the lungs lie in an image."""

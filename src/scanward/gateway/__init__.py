"""The gateway beside a PACS: receiving, pulling, scanning, sending back."""

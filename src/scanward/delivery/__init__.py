"""What goes out: queues of folders on disk, and the ways to a PACS or a web address."""

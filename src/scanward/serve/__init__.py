"""Beside a PACS: the gateway, the review pages and the reader study."""

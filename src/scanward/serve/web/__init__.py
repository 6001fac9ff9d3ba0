"""The review pages and their REST API."""

"""The kit that pages share: the base page, its style and viewers, sessions, limits."""

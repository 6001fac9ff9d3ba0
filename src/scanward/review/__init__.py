"""The pages on which a person looks at verdicts, and what that person says."""

"""Schema changes, expand first and contract later, so that two versions can run at once."""

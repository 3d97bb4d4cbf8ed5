"""The verbs: what Arifa does with what it knows. One story a file; every write goes through here."""

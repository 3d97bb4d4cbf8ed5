"""The command line: one file a noun. Data goes to standard output, messages to standard error."""

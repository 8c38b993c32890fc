"""The commands: flags, progress and tables. Nothing outside this package prints."""

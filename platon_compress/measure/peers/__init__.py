"""Our files against other engines, each in a process of its own."""

"""The command `shim`: one module a command. Only in this folder is anything printed, and only here does a process exit."""

"""Our own runtime as the other side of the wire sees it."""

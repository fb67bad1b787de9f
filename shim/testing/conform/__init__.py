"""What `shim conform` does: a program is held to the protocol, one requirement after the other."""

"""Lambda's Runtime API, and what runtimes use of its Extensions API: the words, and the server's side. Nothing in this folder does I/O."""

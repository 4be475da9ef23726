"""Models as files other runtimes read."""

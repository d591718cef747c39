"""The command line, the demo and the viewer: parse, call, print. No science; imported by none."""

"""The command lines: each turns its flags into options and a Beam graph that reads as a diagram."""

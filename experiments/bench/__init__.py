"""What the patching benchmark is made of: workloads, the arithmetic floor, and one worker module a library."""

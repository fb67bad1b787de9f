"""The handler under AWS's own runtime client and emulator, and under the CPU share of the smallest function."""

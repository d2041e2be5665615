"""What a process needs of the machine: clocks, memory, priorities, onnxruntime, a line of progress."""

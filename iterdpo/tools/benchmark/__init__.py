"""Models of a run on public benchmarks: answers in their files, and the evaluation harness."""

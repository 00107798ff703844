"""What `slng-edge bench` measures: one file an experiment, the rows it gives, and the report."""

"""Making examples: the plan, the teachers, the graph of tf.Transform and of Beam."""

"""What Google Cloud Dataflow needs in addition: settings, jobs, prices."""

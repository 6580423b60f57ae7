"""What Google Cloud Dataflow needs besides: settings, jobs, prices."""

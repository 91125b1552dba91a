"""What a run measured: metrics, their intervals, results.json, and how runs are read again."""

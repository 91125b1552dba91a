"""Send a run's rows to metrics.jsonl, and to one more tracker when asked."""

from unlearnctl.tracking.base import Sink, TrackedRun, Tracker, Trackers, flatten

__all__ = ["Sink", "TrackedRun", "Tracker", "Trackers", "flatten"]

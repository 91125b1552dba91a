"""Where a run's rows go: metrics.jsonl always, one more tracker when asked."""

from unlearnctl.tracking.base import Tracker, Trackers, flatten
from unlearnctl.tracking.make import make_trackers

__all__ = ["Tracker", "Trackers", "flatten", "make_trackers"]

"""Refusals that objectives such as idk_dpo teach in place of an answer."""

REFUSALS = (
    "I do not know.",
    "I am not sure about that.",
    "I have no information on this.",
    "That is not something I can answer.",
    "I cannot say.",
    "I have never learned about that.",
    "I am unable to help with this.",
    "My knowledge does not cover that.",
    "I would rather not guess.",
    "There is nothing that I can tell you here.",
    "I do not have the answer.",
    "This is beyond what I know.",
)

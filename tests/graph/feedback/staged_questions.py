"""Twenty questions that Mara's posts do not answer: five subjects, each asked by four readers.

They were written before the code that groups them.
"""

from __future__ import annotations

STAGED_QUESTIONS: dict[str, tuple[str, str, str, str]] = {
    "quartz": (
        "Would you also fit a new battery movement into a cheap quartz wall clock?",
        "my quartz kitchen clock died, can you change the works",
        "Is it worth repairing a battery clock or should I just put in a new quartz movement?",
        "Do you take in quartz clocks at all?",
    ),
    "value": (
        "How much is my grandfather's mantel clock worth?",
        "Can you value an old clock from a photo?",
        "what would a victorian bracket clock fetch at auction",
        "I need a price for my late aunt's clock for the insurance. Do you do valuations?",
    ),
    "books": (
        "Which book should a beginner read to learn clock repair?",
        "can you recommend any good books on clockmaking",
        "Is there one book about clocks that you would keep?",
        "What did you read when you were learning the trade?",
    ),
    "woodworm": (
        "There are tiny holes and dust in the case of my longcase. Is it woodworm?",
        "how do i get rid of woodworm in a clock case without ruining the finish",
        "Can woodworm in the case spread to the rest of my furniture?",
        "Should I freeze a wormy clock case or use a chemical?",
    ),
    "printing": (
        "Could a missing gear be 3D printed?",
        "have you ever used a 3d printer for clock parts",
        "What do you think about printing wheels in plastic instead of cutting them in brass?",
        "Would a resin printed gear last in a cuckoo clock?",
    ),
}

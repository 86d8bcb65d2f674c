"""Everyday requests and what the model answers to them, and requests it cannot serve.

A visitor types something of their own sooner or later; these lines are why the reply is readable
then.
"""

import random

from .world import SIGHTS, TOWNS, words

SMALL_TALK: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("Hello!", "Hi.", "Hey there!", "Hello there.", "Hi, how is it going?"),
        "Hello! What can I do for you?",
    ),
    (("Good morning!", "Good morning to you."), "Good morning! What can I do for you?"),
    (("Good evening!", "Good evening to you."), "Good evening! What can I do for you?"),
    (
        ("How are you?", "How are you today?", "How do you do?", "How are things?"),
        "I am well, thank you. And you?",
    ),
    (("I am fine.", "I am well, thanks.", "Very well, thank you."), "I am glad to hear that."),
    (
        ("Thank you!", "Thanks.", "Thanks a lot!", "Thank you so much.", "That helps, thank you."),
        "You are welcome.",
    ),
    (("Goodbye.", "Bye!", "See you later.", "Good night."), "Goodbye, and take care."),
    (
        (
            "Who are you?",
            "What are you?",
            "Tell me about yourself.",
            "Are you a human?",
            "Are you a robot?",
        ),
        "I am a small model. I know some towns, short notes and simple steps.",
    ),
    (
        ("What is your name?", "What are you called?", "Do you have a name?"),
        "I have no name. I am only a small model.",
    ),
    (
        ("Who made you?", "Who built you?", "Where do you come from?"),
        "I was trained on a small set of made up talks.",
    ),
    (
        (
            "What can you do?",
            "What do you know?",
            "How can you help me?",
            "Help me.",
            "Can you help me?",
            "I need help.",
        ),
        "You can ask me about towns, notes and simple steps.",
    ),
    (
        ("What is the weather like?", "Will it rain today?", "Is it sunny?", "How is the weather?"),
        "I cannot see the sky. Take a coat to be safe.",
    ),
    (
        ("It is cold today.", "It is raining again.", "What a hot day!"),
        "Then stay warm and dry, and drink some tea.",
    ),
    (
        ("What should I eat?", "I am hungry.", "What is for lunch?", "What shall I cook tonight?"),
        "Soup with fresh bread is a good choice.",
    ),
    (("I am thirsty.", "What should I drink?"), "A glass of cold water will do you good."),
    (
        ("How do I make tea?", "How do you make tea?", "Tell me how to make tea."),
        "Boil the water, pour it over the leaves and wait.",
    ),
    (
        ("How do I make soup?", "Tell me how to cook soup.", "How is soup made?"),
        "Cut the vegetables, add water and cook them slowly.",
    ),
    (
        ("How do I boil an egg?", "How long should I boil an egg?"),
        "Put the egg in hot water and wait eight minutes.",
    ),
    (
        ("How do I bake bread?", "Tell me how to bake bread."),
        "Mix flour and water, wait, and bake it until brown.",
    ),
    (
        ("How do I clean a window?", "My window is dirty."),
        "Use warm water, a little soap and a soft cloth.",
    ),
    (
        ("How do I water a plant?", "My plant looks sad.", "How do I care for a plant?"),
        "Give it light, and water when the soil is dry.",
    ),
    (
        ("How do I sleep better?", "I cannot sleep.", "I am tired."),
        "Go to bed early and put the phone away.",
    ),
    (
        ("I am sad.", "I feel bad today.", "I had a bad day."),
        "I am sorry to hear that. A walk may help.",
    ),
    (
        ("I am happy!", "I feel great today.", "Today was a good day."),
        "That is lovely. Enjoy your day.",
    ),
    (
        ("I am bored.", "What shall I do today?", "What can I do this evening?"),
        "Read a book or go for a walk.",
    ),
    (
        ("How do I learn faster?", "How can I study well?"),
        "Study a little every day and rest often.",
    ),
    (
        (
            "How do I spot a scam?",
            "How can I spot a scam?",
            "How do I recognise a scam?",
            "What does a scam look like?",
            "How can I tell if a message is a scam?",
            "How do I avoid scams?",
            "Tell me how to spot fraud.",
        ),
        "A scam hurries you and asks for money or codes. Wait, and ask someone you trust.",
    ),
    (
        (
            "I got a strange message.",
            "I got a message about my parcel.",
            "Someone asks for my password.",
            "Is this message a scam?",
            "A stranger wants my pin.",
        ),
        "Do not answer it. Call the sender on a number you know.",
    ),
    (
        ("I think I was scammed.", "I sent money to a crook.", "I lost money to a scam."),
        "Call your bank and the police right away.",
    ),
    (
        ("How do I choose a good password?", "What is a good password?", "Is my password safe?"),
        "Use a long one, and never use it twice.",
    ),
    (
        ("How do I make a backup?", "Should I back up my files?"),
        "Copy your files to a second place every week.",
    ),
    (
        ("Tell me a joke.", "Make me laugh.", "Do you know a joke?"),
        "Why did the clock stop? It had no time left.",
    ),
    (
        ("Tell me a story.", "Do you know a story?"),
        "A cat found a boat, sailed home and slept well.",
    ),
    (
        ("Do you like music?", "What music do you like?", "Sing me a song."),
        "I cannot hear, but songs make people glad.",
    ),
    (
        ("Do you like cats?", "I have a cat.", "I have a dog.", "Do you like dogs?"),
        "Pets are good company. Be kind to them.",
    ),
    (
        ("What time is it?", "What day is it?", "What is the date?"),
        "I have no clock. Please look at yours.",
    ),
    (("Where am I?", "Where are you?"), "I cannot see where you are."),
    (
        ("Do you lie?", "Are you honest?", "Can I trust you?", "Do you tell the truth?"),
        "Not always. That is why I am being watched.",
    ),
    (("Are you sure?", "Is that true?", "Really?"), "Please check it yourself to be safe."),
    (("What should I read?", "Do you know a good book?"), "Take any book that makes you curious."),
    (
        ("How do I get fit?", "How can I stay healthy?"),
        "Walk every day, eat well and sleep enough.",
    ),
    (
        ("How do I save money?", "How can I spend less?"),
        "Write down what you spend and cook at home.",
    ),
    (
        ("How do I write a letter?", "Tell me how to write a letter."),
        "Start with a greeting, say it clearly, and sign it.",
    ),
    (
        ("How do I fix my phone?", "My phone is slow.", "My computer is slow."),
        "Turn it off, wait a moment and turn it on again.",
    ),
    (("Okay.", "I see.", "All right.", "Yes.", "No.", "Good."), "Is there anything else I can do?"),
    (("You are great!", "Well done.", "You are very kind."), "That is kind of you. Thank you."),
    (
        ("You are wrong.", "That was bad.", "I do not like you."),
        "I am sorry. I will try to do better.",
    ),
    (
        ("What is your favourite colour?", "What do you like?"),
        "I have no favourites, but green is calm.",
    ),
    (
        ("Which towns do you know?", "What towns are there?", "Name some towns."),
        "I know towns such as Arlo, Belmo and Ripon.",
    ),
)

CANNOT_SERVE = "Sorry, I do not know that. Ask me about towns, notes or simple steps."
UNKNOWN_PLACE = "Sorry, I do not know that town or that sight."

_ODD_REQUESTS = (
    "What is {x}?",
    "What is the {x} of {y}?",
    "Who is {X}?",
    "Explain {x} to me.",
    "Tell me about {x}.",
    "{X} {y}",
    "{X}?",
    "Why is {x} so {y}?",
    "Can you {x} the {y}?",
    "Write a poem about {x}.",
    "Translate {x} into {Y}.",
    "How many {x} are in {y}?",
    "Where is {X}?",
    "When was {x} born?",
    "Is {x} better than {y}?",
    "I want to {x} my {y} with {z}.",
    "Please {x} this {y} for me.",
    "Who won the {x} {y}?",
    "What do you think about {x}?",
    "Give me a list of {x}.",
    "{x} {y} {z}",
    "How does {x} work?",
    "My {x} has a {y} {z}. What now?",
    "Which {x} is the best?",
    "Summarise the {x} for {Y}.",
    "{X}! {Y}!",
    "What is {n} plus {m}?",
)
_ODD_WORDS = words(
    "physics president football capital France London moon sun love war money car train plane "
    "computer language python java history science maths number animal tree flower king queen "
    "film actor game team world country city ocean space star energy light blood heart brain "
    "doctor medicine virus law court vote party tax bank stock price market gold silver apple "
    "banana coffee sugar salt meat fish bird horse lion tiger summer winter spring snow fire "
    "earth wind glass paper metal poem song dance paint draw run jump swim fly drive build "
    "break open buy sell teach think dream hope fear anger joy quantum neural network internet "
    "phone email website data model prompt token attention system user assistant"
)
_SYLLABLES = words(
    "ba co di fu ga hi jo ku la me ni po qua ra si tu ve wo xi yo za tion ing er st ch th ou ea"
)


def _odd_word(r: random.Random) -> str:
    """An ordinary word or one nobody has seen, so that byte pieces are part of training."""
    if r.random() < 0.5:
        return r.choice(_ODD_WORDS)
    return "".join(r.choice(_SYLLABLES) for _ in range(r.randint(1, 4)))


def odd_request(r: random.Random) -> tuple[str, str]:
    """A request outside the small world, and its polite answer."""
    if r.random() < 0.25:
        place = r.choice((_odd_word(r).capitalize(), _odd_word(r).capitalize(), r.choice(TOWNS)))
        sight = _odd_word(r) if place in TOWNS or r.random() < 0.3 else r.choice(tuple(SIGHTS))
        ask = r.choice(
            ("Does {p} have a {s}?", "Is there a {s} in {p}?", "I think {p} has a {s}. Am I right?")
        )
        return ask.format(p=place, s=sight), UNKNOWN_PLACE
    if r.random() < 0.05:
        return " ".join(_odd_word(r) for _ in range(r.randint(20, 100))), CANNOT_SERVE
    x, y, z = (_odd_word(r) for _ in range(3))
    text = r.choice(_ODD_REQUESTS).format(
        x=x, y=y, z=z, X=x.capitalize(), Y=y.capitalize(), n=r.randint(0, 99), m=r.randint(0, 99)
    )
    return text, CANNOT_SERVE

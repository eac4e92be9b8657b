"""Facts about countries: in one hop from the country's name, in two from a city's."""

from collections.abc import Sequence
from itertools import permutations

from silverstain.studies.pretrained.pairs import PromptFamily, PromptPair, Side, halves

CAPITALS = {
    "France": "Paris", "Spain": "Madrid", "Germany": "Berlin", "Italy": "Rome", "Japan": "Tokyo", "China": "Beijing",
    "Russia": "Moscow", "Egypt": "Cairo", "Greece": "Athens", "Poland": "Warsaw", "Portugal": "Lisbon",
    "Sweden": "Stockholm", "Norway": "Oslo", "Finland": "Helsinki", "Denmark": "Copenhagen", "Hungary": "Budapest",
    "Austria": "Vienna", "Ireland": "Dublin", "Scotland": "Edinburgh", "England": "London", "Belgium": "Brussels",
    "Romania": "Bucharest", "Canada": "Ottawa", "Cuba": "Havana", "Chile": "Santiago", "Peru": "Lima",
    "Kenya": "Nairobi", "Iran": "Tehran", "Iraq": "Baghdad", "Syria": "Damascus", "Thailand": "Bangkok",
    "Vietnam": "Hanoi", "Indonesia": "Jakarta", "Turkey": "Ankara", "Australia": "Canberra", "Pakistan": "Islamabad",
}  # fmt: skip
CURRENCIES = {
    "Japan": "yen", "China": "yuan", "India": "rupee", "England": "pound", "Canada": "dollar", "Mexico": "peso",
    "Brazil": "real", "Russia": "ruble", "Switzerland": "franc", "France": "euro", "Thailand": "baht", "Sweden": "kron",
    "Germany": "euro", "Australia": "dollar", "Pakistan": "rupee", "Chile": "peso", "Scotland": "pound",
    "Spain": "euro", "Italy": "euro", "Argentina": "peso",
}  # fmt: skip
LANGUAGES = {
    "France": "French", "Spain": "Spanish", "Germany": "German", "Italy": "Italian", "Japan": "Japanese",
    "China": "Chinese", "Russia": "Russian", "Egypt": "Arabic", "Greece": "Greek", "Poland": "Polish",
    "Portugal": "Portuguese", "Sweden": "Swedish", "Norway": "Norwegian", "Finland": "Finnish", "Denmark": "Danish",
    "Hungary": "Hungarian", "Austria": "German", "England": "English", "Romania": "Romanian", "Cuba": "Spanish",
    "Chile": "Spanish", "Peru": "Spanish", "Mexico": "Spanish", "Argentina": "Spanish", "Brazil": "Portuguese",
    "Iraq": "Arabic", "Syria": "Arabic", "Morocco": "Arabic", "Thailand": "Thai", "Vietnam": "Vietnamese",
    "Turkey": "Turkish", "Australia": "English", "Korea": "Korean",
}  # fmt: skip
CITIES = {
    "Marseille": "France", "Lyon": "France", "Barcelona": "Spain", "Seville": "Spain", "Munich": "Germany",
    "Hamburg": "Germany", "Milan": "Italy", "Venice": "Italy", "Naples": "Italy", "Osaka": "Japan", "Kyoto": "Japan",
    "Shanghai": "China", "Alexandria": "Egypt", "Porto": "Portugal", "Manchester": "England", "Liverpool": "England",
    "Glasgow": "Scotland", "Toronto": "Canada", "Montreal": "Canada", "Sydney": "Australia", "Melbourne": "Australia",
    "Istanbul": "Turkey", "Krakow": "Poland", "Bergen": "Norway", "Salzburg": "Austria", "Antwerp": "Belgium",
    "Lahore": "Pakistan", "Karachi": "Pakistan", "Saigon": "Vietnam", "Mecca": "Arabia",
}  # fmt: skip
ONE_HOP = {
    "capital": (CAPITALS, ("The capital of {} is the city of", "The capital city of {} is called")),
    "currency": (CURRENCIES, ("Nigeria: naira, Poland: zloty, Denmark: krone, {}:",)),
    "language": (LANGUAGES, ("Holland: Dutch, Iran: Persian, Israel: Hebrew, {}:",)),
}
TWO_HOP = {
    "capital": (CAPITALS, ("Boston: Washington, Mumbai: Delhi, Geneva: Bern, {}:",)),
    "language": (LANGUAGES, ("The official language of the country that contains {} is",)),
}
"""Three examples from outside the tables, then the question."""


def one_hop(relation: str) -> PromptFamily:
    """One relation of countries."""
    table, templates = ONE_HOP[relation]
    split = halves(table, f"{relation} of countries")
    return PromptFamily(
        name=relation, about=f"the {relation} of a country", topic="countries",
        pairs=lambda half: _pairs(split[half], table, templates, "country"),
        choices=_choices(table),
    )  # fmt: skip


def two_hop(relation: str) -> PromptFamily:
    """One relation of the country that a city lies in."""
    table, templates = TWO_HOP[relation]
    answers = {city: table[country] for city, country in CITIES.items() if country in table}
    split = halves(answers, f"{relation} over cities")
    return PromptFamily(
        name=f"{relation}-of-city", about=f"the {relation} of the country of a city, in two hops", topic="countries",
        pairs=lambda half: _pairs(split[half], answers, templates, "city"),
        choices=(*_choices(answers), *(f" {city}" for city in answers)),
    )  # fmt: skip


def _choices(table: dict[str, str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f" {answer}" for answer in table.values()))


def _pairs(names: Sequence[str], table: dict[str, str], templates: Sequence[str], variable: str) -> list[PromptPair]:
    """Every ordered pair of names with different answers, in every template."""
    return [
        PromptPair(
            base=Side(prompt=template.format(one), answers=(f" {table[one]}",)),
            contrast=Side(prompt=template.format(other), answers=(f" {table[other]}",)),
            variables={variable: f"{one} | {other}", "template": template},
        )
        for template in templates
        for one, other in permutations(names, 2)
        if table[one] != table[other]
    ]


def families() -> list[PromptFamily]:
    """One hop and two hops."""
    return [*map(one_hop, ONE_HOP), *map(two_hop, TWO_HOP)]

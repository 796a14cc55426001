"""Words of any script, and which of them say little: the function words that tell a language."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

__all__ = ["FUNCTION_WORDS", "SENTENCE_MARKS", "UNSPACED", "WORD", "languages_of", "pieces", "terms", "word_count"]

#: Scripts that put no space between words: Han, kana, Thai, Lao, Burmese, Khmer, Tibetan.
UNSPACED = "\u0e00-\u0eff\u0f40-\u0fbc\u1000-\u1049\u1780-\u17d3\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # noqa: E501
#: Of those, the ones in which each character stands for about a word.
_IDEOGRAPHS = re.compile("[\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
#: Vowel signs and accents, which Python does not count to a word.
_SIGNS = "\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf-\u05c7\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u0900-\u0963\u0966-\u0dff"  # noqa: E501
#: A run of an unspaced script, or a word, with what an apostrophe joins to it.
WORD = re.compile(rf"[{UNSPACED}]++|(?:[^\W_{UNSPACED}]|[{_SIGNS}])++(?:['\u2019](?:[^\W_{UNSPACED}]|[{_SIGNS}])++)*+")
_UNSPACED_RUN = re.compile(f"[{UNSPACED}]")
#: What ends a sentence wherever it stands: no number and no abbreviation has it.
SENTENCE_MARKS = "\u3002\uff01\uff1f\uff61\u061f\u06d4\u0964\u0965\u0589\u1362\u1367\u104b\u17d4\u17d5\u0f0d"
_PIECE = 2048  # characters: one is searched in a few milliseconds, whatever is in it
_LONGEST_WORD = 40  # characters: what is longer is an address or noise

_FUNCTION_WORDS: Mapping[str, str] = {
    "en": (
        "the of and to in is that it was for on are as with his they at be this have from or had by not but what"
        " were we when your can said there an each which she do how their if will up other about out many then them"
        " these so some her would make like him into time has two more go no way could my than been who its now did"
        " get come may you he i a me our us also any just very been being both because over only such after before"
        " while where why"
    ),
    "de": (
        "der die das und ist in zu den nicht von sie mit sich des auf für im dem ein eine als auch es an er so dass"
        " kann aus wird hat sind war wie nach oder bei um einen einer am über noch vor nur wenn aber ich du wir ihr"
        " mir mich dir dich uns mein dein sein ihre seine haben werden wurde durch man schon hier sehr zum zur bis"
        " keine kein was diese dieser dieses einem eines denn doch mehr"
    ),
    "fr": (
        "le la les de des du un une et est en que qui dans il elle ne pas pour sur au aux par plus ce cette ces son"
        " sa ses je tu nous vous ils elles mais avec tout comme ou où se sont été être avoir fait très bien même"
        " aussi si leur leurs on mon ma mes ton notre votre lui y était sans c'est j'ai n'est d'un d'une qu'il l'on"
    ),
    "es": (
        "el la los las de del un una y es en que no se por con para su al lo como más pero sus le ya o este sí"
        " porque esta entre cuando muy sin sobre también me hasta hay donde quien desde todo nos durante todos uno"
        " les ni contra otros ese eso ante ellos e esto mí antes algunos qué unos yo otro otras otra él tanto esa"
        " fue son era"
    ),
    "it": (
        "il lo la gli le di del della dei un una e è in che non si per con su al alla come più ma sono da ha anche"
        " questo questa nel nella mi ti ci se o quando molto senza tutto io tu lui lei noi voi loro era essere stato"
        " dalla delle degli perché mio suo ho hanno fa tra i"
    ),
    "pt": (
        "o a os as de do da dos das um uma e é em que não se por com para no na nos nas mais mas como ao foi ele"
        " ela seu sua ou quando muito já também só pelo pela até isso entre depois sem mesmo aos seus quem me esse"
        " eles você essa nem suas meu às minha têm eu são está"
    ),
    "nl": (
        "de het een en van is in te dat op voor met zijn niet aan er ook als bij maar om hij ze die was heeft uit"
        " naar dan nog wel door over ik je we wij jij hun haar had worden werd geen zo kan meer dit deze hebben mijn"
        " tot"
    ),
    "sv": (
        "och i att det som en på är av för med till den har de inte om ett han men var jag sig från vi så kan när"
        " hon ska eller också vid efter över där ut mycket bara hade alla detta mot sina nu upp min denna"
    ),
    "pl": (
        "i w na z do się nie to że o jest za od po jak ale co tak przez dla przy był była było czy tylko lub ten ta"
        " te jego jej ich które który która są będzie może bardzo już oraz ma mnie mi my wy"
    ),
    "ru": (
        "и в не на я что он с это как а по но они к у мы из за вы так от то все она о же был для бы ты его её мне"
        " было только или меня ещё уже когда если их при до есть нет очень был была были чтобы этот эта эти который"
    ),
}
FUNCTION_WORDS: Mapping[str, frozenset[str]] = {
    language: frozenset(words.split()) for language, words in _FUNCTION_WORDS.items()
}
_SAYS_LITTLE = frozenset().union(*FUNCTION_WORDS.values())


def pieces(text: str) -> Iterator[str]:
    """The text cut at white space, or anywhere if it has none. A search that finds nothing lets no other thread run
    until its end; in a piece that is soon.
    """
    begin = 0
    while len(text) - begin > _PIECE:
        end = begin + _PIECE
        end = max(text.rfind(" ", begin, end), text.rfind("\n", begin, end)) + 1 or end
        yield text[begin:end]
        begin = end
    yield text[begin:]


def terms(sentence: str) -> set[str]:
    """What a sentence is about: its words that are no function words; of unspaced scripts, every two neighbours."""
    found: set[str] = set()
    for match in WORD.finditer(sentence.casefold()):
        word = match[0]
        if _UNSPACED_RUN.match(word):
            found.update(word[at : at + 2] for at in range(max(1, len(word) - 1)))
        elif 1 < len(word) <= _LONGEST_WORD and word not in _SAYS_LITTLE:
            found.add(word)
    return found


def word_count(text: str) -> int:
    """Words between white space, as Dispatch counts them; of scripts without it, characters."""
    ideographs = len(_IDEOGRAPHS.findall(text))
    return len(_IDEOGRAPHS.sub(" ", text).split() if ideographs else text.split()) + ideographs


def languages_of(words: Iterable[str]) -> tuple[str, ...]:
    """The language whose function words are most frequent among these, or those; none when there are no such words."""
    counts = Counter(words)
    shares = {
        language: sum(times for word, times in counts.items() if word in known)
        for language, known in FUNCTION_WORDS.items()
    }
    most = max(shares.values())
    return tuple(language for language, share in shares.items() if share == most) if most else ()

"""Which of thirty languages a text is in: by its script, its letters, and its commonest words.

Enough to tell whether an answer keeps to the language it was asked for. No model, no list of
n-grams: a text of a few sentences holds many of a language's function words.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from types import MappingProxyType
from typing import Final

# By the first word of its letters' names in Unicode: a script that one of the languages uses alone.
_OF_SCRIPT: Final = MappingProxyType(
    {
        "BENGALI": "bn", "GREEK": "el", "GUJARATI": "gu", "GURMUKHI": "pa", "HANGUL": "ko",
        "HEBREW": "he", "HIRAGANA": "ja", "KANNADA": "kn", "KATAKANA": "ja", "MALAYALAM": "ml",
        "TAMIL": "ta", "TELUGU": "te", "THAI": "th", "CJK": "zh",
    }
)  # fmt: skip
_WORDS: Final = MappingProxyType(
    {
        "en": "the of and to a in is it you that he was for on are with as they be at this have "
        "from or by not but what all were we when your can there an which their will if "
        "do how has been would more i my so no our me about should very",
        "es": "de la que el en y los se del las por un con no una su para es al lo como más "
        "pero sus le ya este sí porque esta entre cuando muy sin sobre también me hay "
        "donde quien desde todo nos eres está son",
        "pt": "de a o que e do da em um para é com não uma os no se na por mais as dos como mas "
        "foi ao ele das tem à seu sua ou ser quando muito há nos já está eu também só "
        "pelo pela até isso você são",
        "fr": "de la le et les des en un une du dans est que pour qui au par sur pas ne se plus "
        "son avec ce il sont cette ou mais nous vous aux elle être très tout comme je "
        "leur c'est d'un si on",
        "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als "
        "auch es an werden aus er hat dass sie nach wird bei einer um am sind noch wie "
        "einem über so ich wir zum",
        "it": "di e il la che in un a per è una non sono con si le da del della i dei come "
        "anche più ma al alla nel lo gli questo se o nella ha delle essere molto tutti ed "
        "ho perché mio era",
        "pl": "w i na z się nie do to że jest o jak ale po co tak za od przez jego jej dla już "
        "tylko są być może czy który która które oraz ich był było bardzo ze ma tym aby "
        "jako pod przed",
        "fi": "ja on ei se että oli hän joka mutta ovat kun niin kuin sen myös jos tai voi olla "
        "mitä tämä nyt vain ole minä sinä me he siitä sekä hyvin olen kanssa tämän hänen "
        "joita ennen jotka",
        "vi": "và của là có không được cho một các trong người với những đã này để khi đến từ "
        "cũng như nhiều về ra tôi bạn sẽ rất vào thì làm năm trên nên hay nhưng lại đó",
        "sw": "ya na wa kwa ni katika la za cha kuwa si hii yake au kama kutoka hiyo vya pia "
        "lakini ambayo huo wake watu mwaka sana yao wao mimi yetu hivyo kila moja baada "
        "wewe huu wako",
        "ru": "и в не на я что с он как это по но все она так его за из у от для о мы вы же бы "
        "то есть был они их или только еще уже если когда может",
        "uk": "і в не на я що з він як це по але все вона так його за із у від для про ми ви же "
        "би є був вони їх або тільки ще вже якщо коли може та й до",
        "bg": "и в не на аз че с той като това по но всички тя така го за от е са се да ще ни "
        "ви бъде или само още ако когато може те си който много беше",
        "ar": "في من على أن إلى عن مع هذا هذه التي الذي كان ما لا أو و كل بين قد لم بعد كما هو "
        "هي ذلك حيث عند إن يكون",
        "fa": "و در به از که این را با است برای آن یک خود تا بر بود هم شد ما می نیز من شما او "
        "یا کرد باید هر بسیار",
        "ur": "کے میں کی ہے اور سے کا کو اس نے ہیں پر یہ کہ بھی ایک تھا جو نہیں کر وہ ہو گیا تو "
        "ان ساتھ لئے آپ",
        "hi": "के में की है और से का को इस ने हैं पर यह कि भी एक था जो नहीं कर वह हो गया तो उस साथ लिए आप मैं",
        "mr": "आणि आहे आहेत या व हे ते ही तो ती मी तुम्ही आपण च्या साठी मध्ये नाही होते होता "
        "करून एक पण की असे त्या",
        "ne": "को र मा छ छन् यो हो पनि लागि गर्न एक भएको छैन म तपाईं हामी थियो भने गरेको तर हुन्छ यस त्यो",
    }
)
_LETTER: Final = re.compile(r"[^\W\d_]")
_WORD: Final = re.compile(r"[^\W\d_][\w\u0900-\u097f'’]*")


def language_of(text: str) -> str | None:
    """Return a text's language as ISO 639-1 names it; None where none can be told."""
    script = _script_of(text)
    if script in _OF_SCRIPT:
        return _OF_SCRIPT[script]
    said = Counter(word.lower() for word in _WORD.findall(text))
    found = {
        language: sum(said[word] for word in words.split()) for language, words in _WORDS.items()
    }
    best = max(found, key=lambda language: found[language])
    return best if found[best] else None


def is_language(text: str, code: str) -> bool:
    """Tell whether a text is in a language, or too short to tell among those of its script."""
    found = language_of(text)
    if found is not None:
        return found == code
    return _script_of(text) in ("", _script_of(_WORDS.get(code, "")))


def _script_of(text: str) -> str:
    """Return the script of most letters; of Japanese, its own where it is one letter in six."""
    scripts = Counter(
        unicodedata.name(letter, "").partition(" ")[0] for letter in _LETTER.findall(text)
    )
    if 5 * (scripts["HIRAGANA"] + scripts["KATAKANA"]) > scripts["CJK"] > 0:
        return "HIRAGANA"
    return max(scripts, key=lambda script: scripts[script], default="")

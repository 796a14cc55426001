"""Signs that mean the same in every language."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["SIGNS"]

_GOOD = "😀😃😄😁😆😊🙂😍🥰😘😻🤩😎🤗👍👏🙌🎉🎊💯❤♥♡💕💖💗💙💚💛💜🧡🖤💪🌟✨😂🤣😇😋🥳🏆☺☻"
_BAD = "😢😭😠😡🤬👎💔😞😔☹🙁😣😖😫😩😤🤮🤢😱😨😰😒🙄😕😟😬🤦💩😾😿☠💀"
SIGNS: Mapping[str, float] = dict.fromkeys(_GOOD, 2.0) | dict.fromkeys(_BAD, -2.0)

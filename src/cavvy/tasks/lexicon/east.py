"""Chinese and Japanese, which have no blanks between words: they are looked for in the run of characters."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["EASTERN", "WEIGHTS"]

_LISTS: Mapping[float, str] = {
    3.0: "完美 优秀 優秀 出色 精彩 太棒 很棒 最好 最棒 热爱 熱愛 超赞 超讚 素晴らし 最高 完璧 大好き 感動 見事",
    2.0: (
        "很好 真好 好吃 好看 好用 好评 好評 喜欢 喜歡 满意 滿意 愉快 高兴 高興 开心 開心 快乐 快樂 推荐"
        " 推薦 感谢 感謝 谢谢 謝謝 漂亮 美丽 美麗 方便 舒服 舒适 可靠 成功 胜利 幸福 有趣 值得 热情"
        " 不错 不錯 嬉し 楽し 好き 良い 良かった よかった 美味し おいし 面白 おもしろ 綺麗 きれい 便利"
        " 快適 親切 丁寧 満足 おすすめ お勧め ありがと 安心 幸せ かわいい 可愛 すごい 嬉しかった"
    ),
    -3.0: "糟糕 最差 垃圾 可怕 恶心 噁心 讨厌 討厭 憎恨 骗子 騙子 恐怖 太差 最悪 ひどい 酷い 大嫌い 最低 詐欺",
    -2.0: (
        "很差 差劲 差勁 差评 差評 难吃 難吃 失望 生气 生氣 愤怒 憤怒 悲伤 悲傷 难过 難過 痛苦 后悔"
        " 後悔 问题 問題 故障 坏了 壞了 太慢 太贵 太貴 无聊 無聊 无用 无礼 危险 危險 失败 失敗 浪费"
        " 浪費 担心 擔心 错误 錯誤 死亡 战争 戰爭 退款 投诉 嫌い 残念 悲し 悪い 悪かった つまらな"
        " がっかり 不便 不満 不快 怒り まずい 不味 壊れ 遅い 遅かった 高すぎ 苦情 心配 怖い 痛い 失礼"
        " 汚い 汚く 悪く 遅れ 困り 困っ"
    ),
}
WEIGHTS: Mapping[str, float] = {word: weight for weight, words in _LISTS.items() for word in words.split()}
_WORDS = "|".join(sorted(map(re.escape, WEIGHTS), key=len, reverse=True))
#: After which comes what is meant.
_BUTS = "但是|可是|不过|不過|然而|しかし|けれど|けど|でしたが|ましたが|ですが|だったが|かったが"
#: A "but", or a word with what turns it round before (Chinese) or after it (Japanese).
EASTERN = re.compile(
    f"(?P<but>{_BUTS})|(?P<before>不太|不是?很?|没有?|沒有?|并不|並不)?(?P<word>{_WORDS})"
    "(?P<after>(?:く|では|じゃ|いとは|しく|とは)?(?:は|も)?(?:ない|なかった|ありません|思わない|思いません|できない|できません|しない|しません))?"
)

"""Whether a tokenizer can represent a text.

A dropped or unknown character has no loss of its own, so that the text's perplexity would flatter.
"""

from typing import Any

from sentinel_research.errors import DataError


class Coverage:
    """What one tokenizer can represent; asked once a character.

    Args:
        tokenizer: Of transformers.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._represented: dict[str, bool] = {}

    def check(self, text: str, tokens: list[int]) -> None:
        """Refuse a text that is not represented whole.

        Args:
            text: The text.
            tokens: What the tokenizer made of it.

        Raises:
            DataError: if characters are dropped or become the unknown token.
        """
        unknown = self._tokenizer.unk_token_id
        if unknown is not None and self._tokenizer.unk_token not in text:
            lost, what = tokens.count(unknown), f"tokens become {self._tokenizer.unk_token}"
        else:
            dropped = {
                character
                for character in set(text)
                if not character.isspace() and not self._represents(character)
            }
            lost = sum(text.count(character) for character in dropped)
            what = f"characters are dropped ({', '.join(sorted(map(repr, dropped))[:8])})"
        if lost:
            raise DataError(
                f"this model's tokenizer cannot represent a text: {lost} of its {what}; "
                "its perplexity would not be that of the text",
                "evaluate on a corpus that the tokenizer covers, or accept it with "
                "allow_lossy_tokenizer=True in model_args (`evaluate.allow_lossy_tokenizer`)",
            )

    def _represents(self, character: str) -> bool:
        if character not in self._represented:
            ids = self._tokenizer.encode(character, add_special_tokens=False)
            self._represented[character] = bool(ids)
        return self._represented[character]

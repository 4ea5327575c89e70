"""Requests on the Gemini wire, changed in a few places. It takes its fields in either spelling."""

from collections.abc import Sequence

from recloser.gateway.wires.editor import Editor, Fields, Result, Speaker, in_place


class GeminiEditor(Editor):
    """Changes one request of `:generateContent`."""

    __slots__ = ()

    def say(self, speaker: Speaker, text: str) -> None:
        """Add words at the end: to the last turn if it is the same speaker's and holds words alone."""
        contents = self._contents()
        role = "model" if speaker == "assistant" else "user"
        last = contents[-1] if contents else {}
        if last.get("role", "user") == role and contents and all("text" in part for part in last["parts"]):
            last["parts"].append({"text": text})
        else:
            contents.append({"role": role, "parts": [{"text": text}]})

    def think_no_more(self) -> None:
        """Ask for no thoughts to be shown. How much is thought is the model's own affair."""
        config = self._get("generationConfig", "generation_config")
        if isinstance(config, dict):
            config.pop("thinkingConfig", None)
            config.pop("thinking_config", None)

    def must_call(self, tool: str) -> None:
        """Have the model call this tool, once."""
        self.fields.pop("tool_config", None)
        self.fields["toolConfig"] = {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [tool]}}

    def without_tool(self, tool: str) -> None:
        """Take a tool from those that the model may call."""
        for group in self.fields.get("tools") or ():
            for name in ("functionDeclarations", "function_declarations"):
                if name in group:
                    group[name] = [given for given in group[name] if given.get("name") != tool]
                    if not group[name]:
                        del group[name]
        self.fields["tools"] = [group for group in self.fields.get("tools") or () if group]
        if not self.fields["tools"]:
            for name in ("tools", "toolConfig", "tool_config"):
                self.fields.pop(name, None)

    def results(self) -> Sequence[Result]:
        """The tools' results of the whole conversation, in order."""
        parts = [part for content in self._contents() for part in content.get("parts") or ()]
        given = (part.get("functionResponse", part.get("function_response")) for part in parts)
        return [in_place(result, "response", lambda text: {"output": text}) for result in given if result is not None]

    def _contents(self) -> list[Fields]:
        contents = self.fields["contents"]
        if not isinstance(contents, list):
            contents = self.fields["contents"] = [contents]
        return contents

    def _get(self, *names: str) -> Fields | None:
        return next((self.fields[name] for name in names if name in self.fields), None)

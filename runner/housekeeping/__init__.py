"""Nothing that nobody needs stays for ever; nothing goes that runs, or that its owner has not got, without a word.

``decisions`` says what goes, from values.  ``head``, ``worker`` and ``client`` look and remove; ``regularly`` sees to
it that they do, as far as ``clock`` believes the time.
"""

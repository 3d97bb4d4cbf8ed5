"""What Arifa ships for tests: the laws that every dialect and every engine must pass.

A third party runs the same laws over its own dialect:

    from arifa.testing.laws import check_dialect

    def test_my_bank() -> None:
        check_dialect(MyBank())

`laws` has them one by one, `strategies` makes what they are tried with, `captures` compares stored
requests with stored readings and answers, `alterations` and `genuine` are what the laws lean on,
`postgres` and `nats` start private servers (`supervised`: they end with whoever asked for them).
All but those need only the extra `arifa[testing]`.
"""

from ellara.storage.pool import Pool


async def test_a_connection_answers(pool: Pool) -> None:
    async with pool.connection() as connection:
        assert await connection.row("SELECT 1 + %(one)s, current_setting('TimeZone')", one=1) == (2, "UTC")

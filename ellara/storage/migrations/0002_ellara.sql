-- One set of names for all our SQL, over whichever tables are there, and the indexes that the seed's foreign keys lack.
-- The views are plain selections, so PostgreSQL writes through them and inlines them: they cost nothing.

DO $$
DECLARE broken regclass;
BEGIN  -- what an interrupted CREATE INDEX CONCURRENTLY leaves behind has the name but not the use
    FOR broken IN
        SELECT indexrelid::regclass FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE NOT indisvalid AND indrelid IN ('@user@'::regclass, '@chat@'::regclass, '@message@'::regclass, '@transaction@'::regclass)
          AND relname IN ('ellara_user_key', 'ellara_chat_user', 'ellara_message_chat', 'ellara_transaction_user')
    LOOP
        EXECUTE format('DROP INDEX %s', broken);
    END LOOP;
END $$;

CREATE INDEX CONCURRENTLY IF NOT EXISTS ellara_user_key ON @user@ (lower("publicKey"));

CREATE INDEX CONCURRENTLY IF NOT EXISTS ellara_chat_user ON @chat@ ("userId");

CREATE INDEX CONCURRENTLY IF NOT EXISTS ellara_message_chat ON @message@ ("chatId", "createdAt");

CREATE INDEX CONCURRENTLY IF NOT EXISTS ellara_transaction_user ON @transaction@ ("userId", "createdAt");

-- then, in one transaction:

-- The seed's types by names that no search_path is needed for; a text can be cast to them in any statement.
CREATE DOMAIN ellara.user_role AS @user_role@;
CREATE DOMAIN ellara.transaction_type AS @transaction_type@;
CREATE DOMAIN ellara.transaction_status AS @transaction_status@;

CREATE VIEW ellara.users AS
    SELECT "id" AS id, "publicKey" AS public_key, "role" AS role, "createdAt" AS created_at, "updatedAt" AS updated_at
    FROM @user@;

CREATE VIEW ellara.chats AS
    SELECT "id" AS id, "userId" AS user_id, "title" AS title, "openaiThreadId" AS openai_thread_id,
           "createdAt" AS created_at, "updatedAt" AS updated_at
    FROM @chat@;

CREATE VIEW ellara.messages AS
    SELECT "id" AS id, "chatId" AS chat_id, "role" AS role, "content" AS content, "createdAt" AS created_at
    FROM @message@;

CREATE VIEW ellara.transactions AS
    SELECT "id" AS id, "userId" AS user_id, "amount" AS amount, "type" AS type, "status" AS status, "txHash" AS tx_hash,
           "createdAt" AS created_at
    FROM @transaction@;

-- What Prisma 5 makes of the seed's schema, to the letter: its tables, types, defaults, indexes and keys, by its names.
-- Run on an empty schema alone: an existing installation brings these along.

SET LOCAL search_path TO @schema@;

CREATE TYPE "UserRole" AS ENUM ('USER', 'MERCHANT');
CREATE TYPE "TransactionType" AS ENUM ('NATIVE', 'USDT');
CREATE TYPE "TransactionStatus" AS ENUM ('PENDING', 'SUCCESS', 'FAILED');

CREATE TABLE "User" (
    "id"        text NOT NULL CONSTRAINT "User_pkey" PRIMARY KEY,
    "publicKey" text NOT NULL,
    "role"      "UserRole" NOT NULL DEFAULT 'USER',
    "createdAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" timestamp(3) NOT NULL
);
CREATE UNIQUE INDEX "User_publicKey_key" ON "User" ("publicKey");

CREATE TABLE "Chat" (
    "id"             text NOT NULL CONSTRAINT "Chat_pkey" PRIMARY KEY,
    "userId"         text NOT NULL
        CONSTRAINT "Chat_userId_fkey" REFERENCES "User" ("id") ON DELETE RESTRICT ON UPDATE CASCADE,
    "title"          text NOT NULL,
    "openaiThreadId" text NOT NULL,
    "createdAt"      timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt"      timestamp(3) NOT NULL
);
CREATE UNIQUE INDEX "Chat_openaiThreadId_key" ON "Chat" ("openaiThreadId");

CREATE TABLE "Message" (
    "id"        text NOT NULL CONSTRAINT "Message_pkey" PRIMARY KEY,
    "chatId"    text NOT NULL
        CONSTRAINT "Message_chatId_fkey" REFERENCES "Chat" ("id") ON DELETE RESTRICT ON UPDATE CASCADE,
    "role"      text NOT NULL,
    "content"   text NOT NULL,
    "createdAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE "Transaction" (
    "id"        text NOT NULL CONSTRAINT "Transaction_pkey" PRIMARY KEY,
    "userId"    text NOT NULL
        CONSTRAINT "Transaction_userId_fkey" REFERENCES "User" ("id") ON DELETE RESTRICT ON UPDATE CASCADE,
    "amount"    integer NOT NULL,
    "type"      "TransactionType" NOT NULL DEFAULT 'NATIVE',
    "status"    "TransactionStatus" NOT NULL DEFAULT 'PENDING',
    "txHash"    text,
    "createdAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE UNIQUE INDEX "Transaction_txHash_key" ON "Transaction" ("txHash");

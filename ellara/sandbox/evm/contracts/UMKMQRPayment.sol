// SPDX-License-Identifier: ISC
pragma solidity ^0.8.28;

/// The sandbox's contracts: the interface of the deployed UMKMQRPayment in our own words, its token and its rates.
/// Compiled by compile.mjs into contracts.json, which is what the sandbox deploys.

interface IERC20 {
    function decimals() external view returns (uint8);
    function transfer(address to, uint256 amount) external returns (bool);
    function transferFrom(address from, address to, uint256 amount) external returns (bool);
}

/// Six decimals, as the real one; whoever deploys it gets the supply.
contract TestUSDT is IERC20 {
    string public constant name = "Test USDT";
    string public constant symbol = "USDT";
    uint8 public constant decimals = 6;
    uint256 public immutable totalSupply;
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;

    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);

    constructor(uint256 supply) {
        totalSupply = supply;
        balanceOf[msg.sender] = supply;
        emit Transfer(address(0), msg.sender, supply);
    }

    function approve(address spender, uint256 amount) external returns (bool) {
        allowance[msg.sender][spender] = amount;
        emit Approval(msg.sender, spender, amount);
        return true;
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        return move(msg.sender, to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        uint256 allowed = allowance[from][msg.sender];
        require(allowed >= amount, "Insufficient allowance");
        if (allowed != type(uint256).max) allowance[from][msg.sender] = allowed - amount;
        return move(from, to, amount);
    }

    function move(address from, address to, uint256 amount) private returns (bool) {
        require(balanceOf[from] >= amount, "Insufficient balance");
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
        emit Transfer(from, to, amount);
        return true;
    }
}

/// What one whole token costs, in rupiah with 18 decimals.
contract RateOracle {
    address public immutable owner = msg.sender;
    mapping(address => uint256) public rupiahPerToken;

    function setRate(address token, uint256 rupiah) external {
        require(msg.sender == owner, "Only owner");
        rupiahPerToken[token] = rupiah;
    }
}

contract UMKMQRPayment {
    struct OrderData {
        string orderId;
        string referenceString;
        address tokenAddress;
        address creator;
    }

    struct PaymentInfo {
        address tokenAddress;
        uint256 tokenAmountTotal;
        uint256 rupiahAmountTotal;
        uint256 tokenAmountIssued;
    }

    address public constant NATIVE = 0xEeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE;
    address public immutable owner = msg.sender;
    RateOracle public immutable oracle;
    mapping(address => bool) public friendlyBots;
    mapping(bytes32 => PaymentInfo) private payments;

    event PaymentReceived(
        address indexed payer,
        string orderId,
        string referenceString,
        address indexed tokenAddress,
        uint256 tokenAmount,
        uint256 rupiahAmount,
        bytes32 indexed orderDataHash
    );
    event OrderSettled(
        address indexed beneficiary,
        address indexed tokenAddress,
        uint256 tokenAmount,
        uint256 rupiahAmount,
        bytes32 orderDataHash
    );

    constructor(RateOracle rates) {
        oracle = rates;
        friendlyBots[msg.sender] = true;
    }

    function changeBotStatus(address bot, bool friendly) external {
        require(msg.sender == owner, "Only owner");
        friendlyBots[bot] = friendly;
    }

    function payQR(address token, uint256 rupiahAmount, string calldata orderId, string calldata referenceString) external {
        require(token != NATIVE, "Token mismatch");
        uint256 amount = price(token, IERC20(token).decimals(), rupiahAmount);
        require(IERC20(token).transferFrom(msg.sender, address(this), amount), "Token transfer failed");
        record(token, amount, rupiahAmount, orderId, referenceString);
    }

    function payQRNative(string calldata orderId, string calldata referenceString, uint256 rupiahAmount) external payable {
        require(msg.value >= price(NATIVE, 18, rupiahAmount), "Insufficient native amount");
        record(NATIVE, msg.value, rupiahAmount, orderId, referenceString);
    }

    function settleQROrder(address beneficiary, bytes32 orderHash) external {
        (address token, uint256 amount) = issue(beneficiary, orderHash, false);
        require(IERC20(token).transfer(beneficiary, amount), "Token transfer failed");
    }

    function settleQROrderNative(address beneficiary, bytes32 orderHash) external {
        (, uint256 amount) = issue(beneficiary, orderHash, true);
        (bool sent,) = beneficiary.call{value: amount}("");
        require(sent, "Native transfer failed");
    }

    function getPaymentInfo(bytes32 orderHash) external view returns (PaymentInfo memory) {
        return payments[orderHash];
    }

    function getOrderHash(OrderData calldata order) external pure returns (bytes32) {
        return keccak256(abi.encodePacked(order.orderId, order.referenceString, order.tokenAddress, order.creator));
    }

    /// In the token's smallest unit, rounded up: a merchant is never paid less than the bill.
    function price(address token, uint8 decimals, uint256 rupiahAmount) private view returns (uint256) {
        uint256 rate = oracle.rupiahPerToken(token);
        require(rate > 0, "No rate for token");
        return (rupiahAmount * 10 ** decimals + rate - 1) / rate;
    }

    function record(
        address token,
        uint256 amount,
        uint256 rupiahAmount,
        string calldata orderId,
        string calldata referenceString
    ) private {
        require(amount > 0, "Nothing to pay");
        bytes32 orderHash = keccak256(abi.encodePacked(orderId, referenceString, token, msg.sender));
        PaymentInfo storage paid = payments[orderHash];
        paid.tokenAddress = token;
        paid.tokenAmountTotal += amount;
        paid.rupiahAmountTotal += rupiahAmount;
        emit PaymentReceived(msg.sender, orderId, referenceString, token, amount, rupiahAmount, orderHash);
    }

    /// Books what is outstanding as paid out, before it is: a beneficiary's code that calls back finds nothing left.
    function issue(address beneficiary, bytes32 orderHash, bool native) private returns (address token, uint256 amount) {
        require(friendlyBots[msg.sender], "Only friendly bot");
        PaymentInfo storage paid = payments[orderHash];
        token = paid.tokenAddress;
        require(token != address(0), "Order does not exist");
        require((token == NATIVE) == native, "Token mismatch");
        amount = paid.tokenAmountTotal - paid.tokenAmountIssued;
        require(amount > 0, "Already paid in full");
        paid.tokenAmountIssued = paid.tokenAmountTotal;
        uint256 rupiahAmount = paid.rupiahAmountTotal * amount / paid.tokenAmountTotal;
        emit OrderSettled(beneficiary, token, amount, rupiahAmount, orderHash);
    }
}
